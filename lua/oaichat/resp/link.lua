--- resp/link: one connection to a server of RESP, made at need and made anew when it
-- broke: commands go out in order, replies come back in that order. Knows calls and
-- their ends; neither who waits for them nor what a command means.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local faults = require "oaichat.resp.faults"
local parser_of = require "oaichat.resp.parser"
local reactor_of = require "oaichat.loop.reactor"
local wait = require "oaichat.wait"

local M = {}

local PIECE = 64 * 1024 -- bytes of one write
local FIRST_DELAY, LAST_DELAY = 0.05, 2 -- seconds between attempts to connect

--- @class oaichat.resp.Link
local Link = {}
Link.__index = Link

local function unavailable(link, text, more)
  return faults.unavailable(link.place, text, more)
end

-- ---- calls --------------------------------------------------------------------

local function settle(link, call, err)
  if call.done then return end
  call.done, call.err = true, err
  link.reactor:stop(call.clock)
  call.clock = nil
  if call.after then return call.after(call.replies[1], err) end
  if call.gate then call.gate:open() end
end

local function forget(list, call)
  for i, one in ipairs(list) do
    if one == call then return table.remove(list, i) end
  end
end

--- Ends a call. One that is sent already keeps its place: its replies are read and
--- dropped.
function Link:give_up(call, err)
  forget(self.queue, call)
  settle(self, call, err)
end

local function expire(link, call)
  local why = link.why
  if call.sent then
    link:give_up(call, unavailable(link, ("did not answer within %g s"):format(call.timeout), { sent = true }))
    -- a connection that says nothing may be dead, with nobody to tell
    if link.conn and core.now() - link.heard >= link.timeout * 0.99 then
      link:_ended(unavailable(link, "has fallen silent"))
    end
  elseif why then
    link:give_up(call, why)
  else
    link:give_up(call, unavailable(link, ("could not be reached within %g s"):format(call.timeout)))
  end
end

-- Puts whole calls on the connection while there is room for their bytes.
function Link:_flush()
  while self.conn do
    while self.out do
      local piece = self.out:sub(self.out_at, self.out_at + PIECE - 1)
      if not self.conn:write(piece) then return end -- no room: the turn comes when there is
      self.out_at = self.out_at + #piece
      if self.out_at > #self.out then self.out = nil end
    end
    local call = self.greeting and table.remove(self.greeting, 1)
      or self.state == "open" and table.remove(self.queue, 1)
    if not call then return end
    if self.first > self.last then self.heard = core.now() end
    call.sent = true
    self.last = self.last + 1
    self.flight[self.last] = call
    self.out, self.out_at = call.text, 1
  end
end

function Link:_take(reply)
  local call = self.flight[self.first]
  if not call then
    return self:_ended(unavailable(self, "answers what it was not asked", { code = "io" }))
  end
  local n = #call.replies + 1
  call.replies[n] = reply
  if n < call.count then return end
  self.flight[self.first] = nil
  self.first = self.first + 1
  settle(self, call)
end

-- ---- the connection -------------------------------------------------------------

function Link:_read()
  while self.conn do
    local bytes, why, err = self.conn:read()
    if not bytes then
      local text = self.state == "open" and "closed the connection" or "could not be reached"
      local distrust = err ~= nil and err.code == "tls"
      local more = { detail = why, cause = err and err.code, retryable = not distrust }
      return self:_ended(unavailable(self, text, more), distrust)
    end
    if bytes == "" then return end
    self.heard = core.now()
    local parser = self.parser
    parser:feed(bytes)
    while self.conn and self.parser == parser do
      local found, reply, push = parser:next()
      if not found then break end
      if not push then self:_take(reply) end
    end
    if self.parser == parser and parser.broken then
      local code = parser.code == "too_large" and "too_large" or "io"
      local err_of = unavailable(self, "sent what is no reply: " .. parser.broken, { code = code, retryable = false })
      return self:_ended(err_of, true)
    end
  end
end

function Link:_turn()
  if self.state == "connecting" and self.conn:state() == "open" then self:_greet() end
  self:_read()
  self:_flush()
end

-- A command of our own, before all others.
function Link:_ask(words, after)
  table.insert(self.greeting, { text = parser_of.command(words), count = 1, replies = {}, after = after })
end

function Link:_greet()
  self.state, self.greeting = "greeting", {}
  local function step(after)
    return function(reply, err)
      err = err or errors.is(reply) and reply
      if self.state == "greeting" then after(err) end
    end
  end
  local function refused(err)
    self:_ended(err, err.retryable == false)
  end
  local function ready(err)
    if err then return refused(err) end
    self.reactor:stop(self.clock)
    self.clock, self.greeting, self.why, self.failures = nil, nil, nil, 0
    self.state = "open"
  end
  local function select(err)
    if err then return refused(err) end
    if self.database == 0 then return ready() end
    self:_ask({ "SELECT", self.database }, step(ready))
  end
  local function authenticate()
    local words = { "AUTH", self.secret }
    if not self.secret then return select() end
    if self.username then table.insert(words, 2, self.username) end
    self:_ask(words, step(select))
  end
  if self.protocol == 2 then
    authenticate()
  else
    local words = { "HELLO", 3 }
    if self.secret then
      for _, word in ipairs { "AUTH", self.username or "default", self.secret } do words[#words + 1] = word end
    end
    if self.name then
      words[#words + 1] = "SETNAME"
      words[#words + 1] = self.name
    end
    self:_ask(words, step(function(err)
      -- older than 6, or no Redis
      if err and (err.reply == "NOPROTO" or err.reply == "ERR") then return authenticate() end
      select(err)
    end))
  end
  self:_flush()
end

function Link:_open()
  local secret = self.password
  if type(secret) == "function" then secret = secret() end
  self.secret = secret
  local conn, why, err = core.connect {
    url = self.url, ca_file = self.ca_file, timeout = self.connect_timeout, engine = self.engine,
  }
  if not conn then return self:_ended(errors.new { kind = "config", code = err.code, message = why }, true) end
  self.state, self.conn, self.heard = "connecting", conn, core.now()
  self.parser = parser_of.new(self.limits, function(text) return faults.reply(text, self.secret) end)
  self.flight, self.first, self.last, self.out, self.greeting = {}, 1, 0, nil, {}
  self.reactor:watch(conn, function() self:_turn() end)
  self.clock = self.reactor:after(self.connect_timeout, function()
    self.clock = nil
    self:_ended(unavailable(self, ("did not accept us within %g s"):format(self.connect_timeout)))
  end)
end

function Link:_drop()
  self.reactor:stop(self.clock)
  self.clock, self.greeting, self.out = nil, nil, nil
  if self.conn then self.reactor:close(self.conn) end
  self.conn, self.parser = nil, nil
end

-- Calls that were on the way when the connection broke: what may be said twice is
-- said again, once.
local function salvage(link, err, for_good)
  local again = {}
  for i = link.first, link.last do
    local call = link.flight[i]
    if not call.done and not call.after then
      if call.idempotent and not call.again and not for_good then
        call.again, call.sent, call.replies = true, false, {}
        again[#again + 1] = call
      else
        local lost = errors.new {
          kind = err.kind, code = err.code, message = err.message, retryable = err.retryable, sent = true,
        }
        settle(link, call, lost)
      end
    end
  end
  link.flight, link.first, link.last = {}, 1, 0
  for i = #again, 1, -1 do table.insert(link.queue, 1, again[i]) end
end

local function fail_queue(link, err)
  local queue = link.queue
  link.queue = {}
  for _, call in ipairs(queue) do settle(link, call, err) end
end

-- The connection has come to its end; for_good: to try again does not help.
function Link:_ended(err, for_good)
  local was = self.state
  self:_drop()
  self.state = "idle"
  salvage(self, err, for_good)
  if was == "open" then
    if self.queue[1] then self:_open() end
    return
  end
  self.why, self.failures = err, self.failures + 1
  local delay = math.min(LAST_DELAY, FIRST_DELAY * 2 ^ math.min(self.failures - 1, 10)) * (0.5 + math.random() / 2)
  self.state, self.retry_at = "backoff", core.now() + delay
  if for_good or self.fail_fast then return fail_queue(self, err) end
  if self.queue[1] then self:_later(delay) end
end

function Link:_later(delay)
  if self.clock then return end
  self.clock = self.reactor:after(delay, function()
    self.clock = nil
    self:_again()
  end)
end

-- The time to wait is over.
function Link:_again()
  self.reactor:stop(self.clock)
  self.clock, self.state = nil, "idle"
  if self.queue[1] then self:_open() end
end

-- ---- what the link uses ------------------------------------------------------

--- Takes a call on its way: text, count of replies, replies = {}, timeout, idempotent,
--- gate (opened at its end). It ends with done, and replies or err.
function Link:submit(call)
  local link = self
  if not wait.parks() and link.first > link.last then
    link.engine:step() -- a server that closed an idle connection is known then
  end
  link.reactor:pump()
  if #link.queue >= link.limits.pending then
    return settle(link, call, unavailable(link, ("has %d calls waiting"):format(link.limits.pending)))
  end
  if link.state == "backoff" and core.now() >= link.retry_at then link:_again() end
  if link.fail_fast and link.failures > 0 and link.state == "backoff" then
    return settle(link, call, link.why)
  end
  table.insert(link.queue, call)
  call.clock = link.reactor:after(call.timeout, function()
    call.clock = nil
    expire(link, call)
  end)
  if link.state == "idle" then link:_open() end
  if link.state == "backoff" and not call.done then link:_later(link.retry_at - core.now()) end
  if link.state == "open" then link:_flush() end
end

--- Calls and clocks that have come to something by now.
function Link:pump()
  self.reactor:pump()
end

--- Ends what waits, for good.
function Link:close(err)
  self:_drop()
  self.state = "closed"
  salvage(self, err, true)
  fail_queue(self, err)
  self.reactor:clear()
end

--- @param fields table url, place, username, password, database, name, protocol, ca_file, timeout, connect_timeout,
---   fail_fast, limits, engine
--- @return oaichat.resp.Link
function M.new(fields)
  local link = setmetatable({
    reactor = reactor_of.new(fields.engine), state = "idle", queue = {}, flight = {}, first = 1, last = 0,
    failures = 0, heard = 0,
  }, Link)
  for name, value in pairs(fields) do link[name] = value end
  return link
end

return M
