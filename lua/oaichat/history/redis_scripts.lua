--- history/redis_scripts: what the Redis server runs for the store, each at once and
-- whole. Knows the keys (see history/redis); Lua 5.1 of the server, not ours. Numbers
-- that may be large are texts: the server's Lua has doubles only.

local M = {}

-- KEYS: c m o x ids top. ARGV: op id version token expire user-prefix mode user
-- texts, each text; then names and values of meta, "" removes.
M.WRITE = [[
local c, m, o, x, ids, top = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local op, id, want, token, expire = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local n = tonumber(ARGV[9])
local have = redis.call('HGET', c, 'version') or '0'
local tokens = redis.call('HGET', c, 'tokens') or ''
if have ~= want then
  local mine = string.match(tokens, token .. ':(%d+)')
  if mine then return {'done', mine} end
  return {'conflict', have}
end
local function count() return redis.call('LLEN', m) + redis.call('LLEN', o) end
if have ~= '0' and redis.call('HGET', c, 'count') ~= tostring(count()) then return {'corrupt', have} end
if (op == 'commit' or op == 'abort') and redis.call('HGET', c, 'open') ~= '1' then return {'no turn', have} end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.rep('0', 6 - #time[2]) .. time[2]
if have == '0' then
  local first = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local last = tonumber(redis.call('GET', top) or '0')
  if last >= first then first = last + 1 end
  have = string.format('%.0f', first)
  redis.call('HSET', c, 'created', now)
  redis.call('ZADD', ids, 0, id)
end
local function push(key)
  for i = 10, 9 + n do redis.call('RPUSH', key, ARGV[i]) end
end
if op == 'begin' or op == 'append' then
  for _, text in ipairs(redis.call('LRANGE', o, 0, -1)) do redis.call('RPUSH', m, text) end
end
redis.call('DEL', o)
redis.call('HDEL', c, 'open')
if op == 'begin' then
  redis.call('HSET', c, 'open', '1')
  push(o)
elseif op == 'replace' then
  redis.call('DEL', m)
  push(m)
elseif op ~= 'abort' then
  push(m)
end
for i = 10 + n, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', x, ARGV[i]) else redis.call('HSET', x, ARGV[i], ARGV[i + 1]) end
end
if ARGV[7] ~= 'keep' then
  local old = redis.call('HGET', c, 'user')
  if old then redis.call('ZREM', ARGV[6] .. old, id) end
  redis.call('HDEL', c, 'user')
  if ARGV[7] == 'set' then
    redis.call('HSET', c, 'user', ARGV[8])
    redis.call('ZADD', ARGV[6] .. ARGV[8], 0, id)
  end
end
local version = string.format('%.0f', tonumber(have) + 1)
tokens = token .. ':' .. version .. ' ' .. string.sub(tokens, 1, 250)
redis.call('HSET', c, 'version', version, 'updated', now, 'tokens', tokens, 'count', count())
if expire > 0 then
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], expire) end
end
return {'done', version}
]]

M.READ = [[
local c, m, o, x = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local head = redis.call('HMGET', c, 'version', 'created', 'updated', 'open', 'count')
if not head[1] then return false end
return {head, redis.call('LRANGE', m, 0, -1), redis.call('LRANGE', o, 0, -1), redis.call('HGETALL', x)}
]]

-- KEYS: an index. ARGV: prefix, from, to, how many. Ids whose conversation has
-- expired are taken out.
M.LIST = [[
local p, out = ARGV[1], {}
for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, tonumber(ARGV[4]))) do
  local head = redis.call('HMGET', p .. 'c:' .. id, 'version', 'updated')
  if head[1] then
    local count = redis.call('LLEN', p .. 'm:' .. id) + redis.call('LLEN', p .. 'o:' .. id)
    out[#out + 1] = {id, head[1], head[2], count, redis.call('HGETALL', p .. 'x:' .. id)}
  else
    redis.call('ZREM', KEYS[1], id)
    out[#out + 1] = {id}
  end
end
return out
]]

M.DELETE = [[
local version = redis.call('HGET', KEYS[1], 'version')
if not version then return 0 end
local user = redis.call('HGET', KEYS[1], 'user')
if user then redis.call('ZREM', ARGV[2] .. user, ARGV[1]) end
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
if tonumber(version) > tonumber(redis.call('GET', KEYS[6]) or '0') then redis.call('SET', KEYS[6], version) end
return 1
]]

M.LOCK = [[
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
]]

M.RELEASE = [[
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
]]

return M
