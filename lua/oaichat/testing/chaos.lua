--- Misbehaviour that can be repeated: what happens to a request depends on the seed
-- and the request's number alone, on every Lua and every machine.
--
--   local chaos = testing.chaos { seed = 7, weights = { ok = 6, reset = 1, ["429"] = 1 } }
--   local provider = testing.provider(chaos)      -- chaos.log says what was done to whom
--
-- Kinds: ok; slow (pauses); reset, cut, stall (before the first byte or after some chunks); garbage (what is no
-- answer of this API); any status of 400 or more. Knows steps alone.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options_of = require "oaichat.options"
local steps_of = require "oaichat.testing.steps"

local M = {}

--- @class oaichat.testing.Chaos
--- @field seed integer
--- @field handler fun(request, response) for testing.server
--- @field log { number: integer, kind: string, step: table }[] by the request's number
local Chaos = {}
Chaos.__index = Chaos

local PRIME = 2147483647

-- Park and Miller's generator, stirred so that neighbours have nothing in common:
-- exact in doubles.
local function generator(seed, number)
  local state = (seed % PRIME * 7919 + number * 104729 + 1) % PRIME
  if state == 0 then state = 1 end
  local function draw(n)
    state = state * 48271 % PRIME
    return state % n
  end
  for _ = 1, 4 do
    draw(1)
    state = (state + (state % 94906) ^ 2) % PRIME
    if state == 0 then state = 1 end
  end
  return draw
end

local DEFAULT = {
  ok = 10, slow = 2, reset = 1, cut = 1, stall = 1, garbage = 1, ["429"] = 1, ["500"] = 1, ["503"] = 1,
}

-- A place in an answer of n chunks: true is before its first byte.
local function place(draw, n)
  return draw(3) == 0 or draw(n)
end

local HTTP = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n\r\n%s"

local GARBAGE = {
  function() return HTTP:format("text/html", "<html><body>Bad gateway, politely</body></html>") end,
  function() return HTTP:format("text/event-stream", 'data: {"choices":[{"index":0,"delta":{"content":"half') end,
  function() return HTTP:format("text/event-stream", "data: {not json}\n\ndata: [DONE]\n\n") end,
  function() return "220 mail.example ESMTP\r\n" end,
  function(draw)
    local bytes = {}
    for i = 1, 64 do bytes[i] = string.char(draw(256)) end
    return table.concat(bytes)
  end,
}

local MAKE = {
  ok = function(step) return step end,
  slow = function(step, draw, pause)
    step.pause, step.every = pause * draw(4) / 4, pause
    return step
  end,
  reset = function(step, draw)
    step.reset = place(draw, 4)
    return step
  end,
  cut = function(step, draw)
    step.cut = place(draw, 4)
    return step
  end,
  stall = function(step, draw)
    step.silence = place(draw, 4)
    return step
  end,
  garbage = function(_, draw) return { bytes = GARBAGE[draw(#GARBAGE) + 1](draw) } end,
}

local function by_status(kind, draw)
  local status = tonumber(kind)
  return { status = status, headers = status == 429 and { ["retry-after"] = tostring(draw(2)) } or nil }
end

--- What happens to a request, without doing it.
--- @param number integer
--- @return table step
--- @return string kind
function Chaos:step(number)
  local draw = generator(self.seed, number)
  local at, kind = draw(self._total), nil
  for _, entry in ipairs(self._kinds) do
    kind = entry.kind
    if at < entry.weight then break end
    at = at - entry.weight
  end
  local make = MAKE[kind]
  if not make then return by_status(kind, draw), kind end
  return make({ text = self._text(number) }, draw, self._pause), kind
end

function Chaos:__call(request)
  local step, kind = self:step(request.number)
  self.log[request.number] = { number = request.number, kind = kind, step = step }
  if self._keep then self.log[request.number - self._keep] = nil end
  self._counts[kind] = (self._counts[kind] or 0) + 1
  return step
end

--- How many requests met each kind so far.
--- @return table<string, integer>
function Chaos:counts()
  local out = {}
  for kind, count in pairs(self._counts) do out[kind] = count end
  return out
end

local function kinds_of(weights)
  local list, total = {}, 0
  for kind, weight in pairs(weights) do
    kind = tostring(kind)
    local status = tonumber(kind)
    if not MAKE[kind] and not (status and status >= 400 and status <= 599 and status % 1 == 0) then
      errors.misuse(("chaos: unknown kind %s"):format(kind))
    end
    if type(weight) ~= "number" or weight < 0 or weight % 1 ~= 0 then
      errors.misuse(("chaos: weights.%s: a whole number expected"):format(kind))
    end
    list[#list + 1] = { kind = kind, weight = weight }
    total = total + weight
  end
  if total == 0 then errors.misuse "chaos: all weights are 0" end
  table.sort(list, function(a, b) return a.kind < b.kind end)
  return list, total
end

--- @param options { seed: integer, weights: table|nil, text: function|nil, pause: number|nil }
---   text: what request n is answered, "This is answer n." by default; pause: seconds, of slow, 0.02 by default;
---   keep: how many entries stay in the log, all by default
--- @return oaichat.testing.Chaos
function M.new(options)
  options_of.check(options, {
    seed = "number", weights = "table", text = "function", pause = "number", keep = "number",
  })
  if not options.seed then errors.misuse "chaos: a seed is needed" end
  local kinds, total = kinds_of(options.weights or DEFAULT)
  local self = setmetatable({
    seed = options.seed, log = {}, _kinds = kinds, _total = total, _pause = options.pause or 0.02,
    _keep = options.keep, _counts = {},
    _text = options.text or function(number) return ("This is answer %d."):format(number) end,
  }, Chaos)
  self.handler = function(request, response) steps_of.play(self(request), json.decode(request.body), response) end
  return self
end

return M
