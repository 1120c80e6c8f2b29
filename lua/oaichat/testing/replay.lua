--- A server that answers from a cassette, piece by piece as it was recorded: at once, or
-- in the recorded time. A request gets the first interaction that it matches and that no
-- request has had; none: HTTP 599, with what it differs in from the nearest one. Knows
-- cassettes.

local cassette = require "oaichat.testing.cassette"
local compare = require "oaichat.testing.compare"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options_of = require "oaichat.options"
local redact = require "oaichat.testing.redact"
local server_of = require "oaichat.testing.server"

local M = {}

-- Each piece goes out in a step of its own.
local ALONE = 1e9

--- @class oaichat.testing.Replay
--- @field url string for base_url
--- @field port integer
--- @field requests oaichat.testing.Request[]
--- @field errors string[] requests that matched nothing, and why
local Replay = {}
Replay.__index = Replay

local function differences(self, entry, request)
  if type(self._match) ~= "function" then return compare.differences(entry.request, request, self._match) end
  local ok, why = self._match(entry.request, request)
  return ok and 0 or 1, why or "the match function says no"
end

-- The request as a cassette would have it.
local function as_recorded(self, request)
  for name, value in pairs(request.headers) do self._redactor:notice(name, value) end
  local target = self._redactor:target(request.target:match "^/v1(.*)$" or request.target)
  local body = self._redactor:text(request.body)
  return {
    method = request.method, target = target, path = target:match "^[^?]*", headers = request.headers, body = body,
    json = json.decode(body),
  }
end

local function find(self, request)
  local nearest, fewest, reason, spent
  for _, entry in ipairs(self._list) do
    local count, why = differences(self, entry, request)
    if count == 0 and (not entry.used or self._repeats) then return entry end
    if count == 0 then
      spent = spent or entry
    elseif not fewest or count < fewest then
      nearest, fewest, reason = entry, count, why
    end
  end
  if spent then
    return nil, ("the interaction of line %d was played already (repeats = true plays it again)"):format(spent.line)
  end
  if not nearest then return nil, "the cassette is empty" end
  return nil, ("the nearest one, of line %d, differs in %s%s"):format(nearest.line, reason,
    fewest > 1 and (" (and %d more)"):format(fewest - 1) or "")
end

local ENDINGS = { finish = "finish", cut = "close", reset = "reset" }

local function head(recorded, response)
  local headers = { ["Content-Type"] = false }
  for _, header in ipairs(recorded.headers) do
    local name, value = header[1], header[2]
    if name:lower() == "content-type" then headers["Content-Type"] = nil end
    local list = headers[name] or {}
    list[#list + 1] = value
    headers[name] = list
  end
  headers["Content-Length"] = recorded.length
  for name, list in pairs(headers) do
    if type(list) == "table" and not list[2] then headers[name] = list[1] end
  end
  response:head {
    status = recorded.status, reason = recorded.reason ~= "" and recorded.reason or nil, headers = headers,
    chunked = recorded.framing == "chunked",
  }
end

local function play(self, recorded, response)
  local before = 0
  for i, piece in ipairs(recorded.pieces) do
    if self._real and piece[1] > before then response:pause(piece[1] - before) end
    if i == 1 then head(recorded, response) end
    before = piece[1]
    response:write(piece[2], ALONE)
  end
  if not recorded.pieces[1] then head(recorded, response) end
  local method = ENDINGS[recorded["end"]]
  if not method then return end -- the client left: so it does again
  if method ~= "finish" then response:pause(0) end
  response[method](response)
end

function Replay:_answer(request, response)
  local entry, why = find(self, as_recorded(self, request))
  if entry then
    entry.used = true
    return play(self, entry.response, response)
  end
  local message = ("oaichat.testing: no recorded interaction for request %d (%s %s): %s")
    :format(request.number, request.method, request.path, why)
  self.errors[#self.errors + 1] = message
  response:json(599, { error = { message = message, type = "oaichat_testing", code = "no_match" } },
    { ["x-should-retry"] = "false" })
end

--- What no request has had so far.
--- @return string[] one each: "line 3: POST /chat/completions"
function Replay:unused()
  local out = {}
  for _, entry in ipairs(self._list) do
    if not entry.used then
      out[#out + 1] = ("line %d: %s %s"):format(entry.line, entry.request.method, entry.request.target)
    end
  end
  return out
end

--- Raises unless every request matched and every interaction was played.
function Replay:verify()
  if self.errors[1] then error(table.concat(self.errors, "\n"), 2) end
  local unused = self:unused()
  if unused[1] then error("not played: " .. table.concat(unused, "; "), 2) end
end

--- Ends all connections.
function Replay:close()
  self.server:close()
end

local function matcher(match)
  if match == nil then return { "method", "path", "body" } end
  for _, part in ipairs(type(match) == "table" and match or {}) do
    if not compare.knows(part) then errors.misuse(("replay: match: unknown part %s"):format(tostring(part))) end
  end
  return match
end

--- @param options table file; speed: "instant" (default) or "real";
---   match: of "method", "path" and "body" those that must agree, or fun(recorded, request): boolean, string|nil;
---   repeats: an interaction answers more than one request; secrets: as they were recorded
--- @return oaichat.testing.Replay|nil replay
--- @return string|nil message
function M.new(options)
  options_of.check(options, {
    file = "string", speed = "string", match = "table|function", repeats = "boolean", secrets = "table",
  })
  local speed = options.speed or "instant"
  if not options.file then errors.misuse "replay: a file is needed" end
  if speed ~= "instant" and speed ~= "real" then errors.misuse 'replay: speed must be "instant" or "real"' end
  local list, message = cassette.read(options.file)
  if not list then return nil, message end
  local self = setmetatable({
    _list = list, _match = matcher(options.match), _real = speed == "real", _repeats = options.repeats,
    _redactor = redact.new(options.secrets),
  }, Replay)
  self.server, message = server_of.new(function(request, response) self:_answer(request, response) end)
  if not self.server then return nil, message end
  self.url, self.port = self.server.url, self.server.port
  self.requests, self.errors = self.server.requests, self.server.errors
  return self
end

return M
