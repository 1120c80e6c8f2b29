--- limiter/script: the decision of one limit, run inside Redis. Times are whole
-- microseconds of the server's clock.
--   KEYS[1]: a hash. ARGV: op, per, requests, tokens (-1: no limit), window ("1"), burst, then
--   take: tokens -> { wait, slot, now }: 0 granted, < 0 never
--   back: slot, requests, tokens · cool: microseconds
-- Window: fields gN count what went out in the N-th slot of per/128; a slot counts until
-- all of it has left the window. Bucket: r, t and at. c: cools down until then.

return [==[
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local op, per = ARGV[1], tonumber(ARGV[2])
local max = { tonumber(ARGV[3]), tonumber(ARGV[4]) }
local window, burst = ARGV[5] == '1', tonumber(ARGV[6])
local slot = math.max(math.floor(per / 128), 1)
local key = KEYS[1]
local function text(n) return string.format('%.0f', n) end

local fields, raw = {}, redis.call('HGETALL', key)
for i = 1, #raw, 2 do fields[raw[i]] = raw[i + 1] end

local function expire()
  local cool = math.max((tonumber(fields.c) or 0) - now, 0)
  redis.call('PEXPIRE', key, text(math.ceil((per * 2 + cool) / 1000) + 1000))
end

-- The slots that still count, oldest first, and their sum; the others are dropped.
local function slots()
  local list, used = {}, { 0, 0 }
  for name, value in pairs(fields) do
    local n = tonumber(string.match(name, '^g(%d+)$'))
    if n and (n + 1) * slot + per <= now then
      redis.call('HDEL', key, name)
    elseif n then
      local r, t = string.match(value, '^(%-?%d+):(%-?%d+)$')
      list[#list + 1] = { n = n, tonumber(r), tonumber(t) }
      used[1], used[2] = used[1] + tonumber(r), used[2] + tonumber(t)
    end
  end
  table.sort(list, function(a, b) return a.n < b.n end)
  return list, used
end

local function fits(used, need)
  for i = 1, 2 do
    if max[i] >= 0 and used[i] + need[i] > max[i] then return false end
  end
  return true
end

local function take_window(need)
  if not fits({ 0, 0 }, need) then return { '-1' } end
  local list, used = slots()
  local wait = 0
  for _, one in ipairs(list) do
    if fits(used, need) then break end
    wait = (one.n + 1) * slot + per - now
    used[1], used[2] = used[1] - one[1], used[2] - one[2]
  end
  if wait > 0 then return { text(wait) } end
  local n = math.floor(now / slot)
  local name, last = 'g' .. text(n), list[#list]
  local r, t = need[1], need[2]
  if last and last.n == n then r, t = r + last[1], t + last[2] end
  redis.call('HSET', key, name, text(r) .. ':' .. text(t))
  return { '0', text(n), text(now) }
end

local names = { 'r', 't' }
local function levels()
  local seconds, out = now - (tonumber(fields.at) or 0), {}
  for i = 1, 2 do
    local size = max[i] * burst
    out[i] = math.min((tonumber(fields[names[i]]) or size) + math.max(seconds, 0) * max[i] / per, size)
  end
  return out
end

local function keep(out)
  for i = 1, 2 do
    if max[i] >= 0 then redis.call('HSET', key, names[i], string.format('%.17g', out[i])) end
  end
  redis.call('HSET', key, 'at', text(now))
end

local function take_bucket(need)
  local out, wait = levels(), 0
  for i = 1, 2 do
    if max[i] >= 0 then
      if need[i] > math.max(max[i] * burst, 1) then return { '-1' } end
      if need[i] > out[i] then wait = math.max(wait, math.ceil((need[i] - out[i]) * per / max[i])) end
    end
  end
  if wait > 0 then return { text(wait) } end
  for i = 1, 2 do out[i] = out[i] - need[i] end
  keep(out)
  return { '0', '', text(now) }
end

if op == 'take' then
  local cool = (tonumber(fields.c) or 0) - now
  if cool > 0 then return { text(cool) } end
  local need = { 1, tonumber(ARGV[7]) }
  local reply = window and take_window(need) or not window and take_bucket(need)
  if reply[1] == '0' then expire() end
  return reply
elseif op == 'back' then
  local back = { tonumber(ARGV[8]), tonumber(ARGV[9]) }
  if not window then
    local out = levels()
    for i = 1, 2 do out[i] = math.min(out[i] + back[i], max[i] * burst) end
    keep(out)
    expire()
  else
    local name = 'g' .. ARGV[7]
    local r, t = string.match(fields[name] or '', '^(%-?%d+):(%-?%d+)$')
    if r then
      redis.call('HSET', key, name, text(math.max(r - back[1], 0)) .. ':' .. text(math.max(t - back[2], 0)))
    end
  end
elseif op == 'cool' then
  local till = now + tonumber(ARGV[7])
  if till > (tonumber(fields.c) or 0) then
    fields.c = text(till)
    redis.call('HSET', key, 'c', fields.c)
    expire()
  end
end
return { '0' }
]==]
