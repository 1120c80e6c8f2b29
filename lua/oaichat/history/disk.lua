--- history/disk: how a journal gets onto the disk, and stays whole there: locks,
-- order of writes and syncs, files that appear at once. It knows the file system
-- (a table like oaichat.core.file) and the journal's format; no conversations.
--
-- The rules: one writer at a time (flock on the journal; the path is looked at again
-- once it is held); what is written is synced before it is reported; what a crash
-- cut is cut off and that synced before anything is written in its place; a new file
-- is written under another name, synced, renamed, and the directory synced.

local common = require "oaichat.history.common"
local journal = require "oaichat.history.journal"

local M = {}

local Disk = {}
Disk.__index = Disk

local CODES = {
  ENOSPC = "full", EDQUOT = "full", EFBIG = "full",
  EROFS = "read_only", EACCES = "read_only", EPERM = "read_only",
  ENOTREG = "corrupt",
  ENOSYS = "unavailable", EMFILE = "unavailable", ENFILE = "unavailable", ENOMEM = "unavailable",
}

local TURNS = 1000 -- renames seen in a row while waiting for one lock

--- @return nil, string, oaichat.Error
function M.fail(path, reason, errno)
  return common.fail(CODES[errno] or "io", ("%s: %s"):format(path, reason), { file = path, errno = errno })
end

--- @param options table path fs durable lock_wait
function M.new(options)
  return setmetatable({
    path = options.path, fs = options.fs, durable = options.durable, lock_wait = options.lock_wait,
  }, Disk)
end

--- The path of a conversation's journal.
function Disk:journal(id)
  return self.path .. "/" .. id .. ".jsonl"
end

-- The path of a file that belongs to it; its name begins with a dot, as no id does.
local function beside(self, id, ending)
  return self.path .. "/." .. id .. ending
end

--- Makes the directory, and those above it, for this user alone.
--- @return true|nil ok, string|nil message, oaichat.Error|nil err
function Disk:make()
  local above
  for stop in (self.path .. "/"):gmatch "()/" do
    local path = self.path:sub(1, stop - 1)
    if path ~= "" then
      local made, reason, errno = self.fs.mkdir(path)
      if made == nil then return M.fail(path, reason, errno) end
      if made and self.durable then
        made, reason, errno = self.fs.sync_dir(above or (path:sub(1, 1) == "/" and "/" or "."))
        if not made then return M.fail(path, reason, errno) end
      end
      above = path
    end
  end
  return true
end

-- Opens and locks what the path leads to. nil alone: there is nothing.
local function hold(self, id, path, mode, kind, seconds)
  for _ = 1, TURNS do
    local file, reason, errno = self.fs.open(path, mode)
    if not file then
      if errno == "ENOENT" and mode ~= "ensure" then return nil end
      return M.fail(path, reason, errno)
    end
    local ok, same
    ok, reason, errno = file:lock(kind, seconds)
    -- a reader of a file system without locks reads what is there
    if not ok and not (kind == "shared" and errno ~= "EWOULDBLOCK") then
      file:close()
      if errno == "EWOULDBLOCK" then return common.locked(id) end
      return M.fail(path, reason, errno)
    end
    same, reason, errno = file:same(path)
    if same then return file end
    file:close()
    if same == nil then return M.fail(path, reason, errno) end
  end
  return common.locked(id)
end

-- Runs work(file, ...) and closes the file whatever happens: an error that left it
-- open would keep it locked until the collector comes.
local function with(file, work, ...)
  local ok, a, b, c = pcall(work, file, ...)
  file:close()
  if not ok then error(a, 0) end
  return a, b, c
end

--- Runs work(file, path) on the journal; its values are returned.
--- @param id string
--- @param kind "shared"|"exclusive"
--- @param work fun(file: table, path: string): any, any, any
--- @param none (fun(): any, any, any)|nil called when there is no journal
function Disk:on(id, kind, work, none)
  local path = self:journal(id)
  local file, text, err = hold(self, id, path, kind == "shared" and "read" or "write", kind, self.lock_wait)
  if file then return with(file, work, path) end
  if err then return nil, text, err end
  if none then return none() end
end

--- The state at the end of a journal: fast where it is whole.
--- @return table|nil last see journal.scan
function Disk:last(file, path, id)
  local size, reason, errno = file:size()
  if not size then return M.fail(path, reason, errno) end
  local last = journal.last(file, size)
  if last then return last end
  return self:scan(file, path, id)
end

--- @param visit function|nil
--- @return table|nil last see journal.scan
function Disk:scan(file, path, id, visit)
  local size, reason, errno = file:size()
  if not size then return M.fail(path, reason, errno) end
  local last, text, err = journal.scan(file, size, path, id, visit)
  if not last and err.errno and not err.kind then return M.fail(path, text, err.errno) end
  return last, text, err
end

local function sync(self, file)
  if not self.durable then return true end
  return file:sync()
end

--- Adds a line behind the last one.
--- @return true|nil ok, string|nil message, oaichat.Error|nil err the journal is as before
function Disk:add(file, path, last, line)
  local size, reason, errno = file:size()
  local ok = size
  if size and size > last.stop then
    ok, reason, errno = file:truncate(last.stop)
    if ok then ok, reason, errno = sync(self, file) end
  end
  if not ok then return M.fail(path, reason, errno) end
  ok, reason, errno = file:write(last.stop, line)
  if ok then ok, reason, errno = sync(self, file) end
  if ok then return true end
  -- best effort: what is left here is a torn tail, unless all of it was written
  if file:truncate(last.stop) then sync(self, file) end
  return M.fail(path, reason, errno)
end

-- Fills a new file and gives it its name. The name must be this writer's to give:
-- `.lock` or the old journal is held.
local function put(self, id, chunks)
  local fs, path, temporary = self.fs, self:journal(id), beside(self, id, ".tmp")
  fs.remove(temporary)
  local file, reason, errno = fs.open(temporary, "create")
  if not file then return M.fail(temporary, reason, errno) end
  local at, ok = 0, true
  for _, chunk in ipairs(chunks) do
    if ok then ok, reason, errno = file:write(at, chunk) end
    at = at + #chunk
  end
  if ok then ok, reason, errno = sync(self, file) end
  file:close()
  if ok then ok, reason, errno = fs.rename(temporary, path) end
  if not ok then
    fs.remove(temporary)
    return M.fail(path, reason, errno)
  end
  if self.durable then ok, reason, errno = fs.sync_dir(self.path) end
  if not ok then return M.fail(path, reason, errno) end
  return true
end

--- Makes a journal.
--- @param id string
--- @param chunks string[]
--- @return true|"exists"|nil ok "exists": somebody else was faster
--- @return string|nil message, oaichat.Error|nil err
function Disk:create(id, chunks)
  local file, text, err = hold(self, id, self.path .. "/.lock", "ensure", "exclusive", self.lock_wait)
  if not file then return nil, text, err end
  return with(file, function()
    local facts, reason, errno = self.fs.stat(self:journal(id))
    if facts then return "exists" end
    if errno ~= "ENOENT" then return M.fail(self:journal(id), reason, errno) end
    local ok, why, failure = put(self, id, chunks)
    -- it may have its name already, and only the directory not be synced
    if not ok then self.fs.remove(self:journal(id)) end
    return ok, why, failure
  end)
end

--- Writes a journal anew in one step. Call it with the journal held.
function Disk:rewrite(id, chunks)
  return put(self, id, chunks)
end

--- Removes a journal that is held, and what a crash may have left beside it.
--- @return true|nil ok, string|nil message, oaichat.Error|nil err
function Disk:remove(id)
  local path = self:journal(id)
  self.fs.remove(beside(self, id, ".tmp"))
  local ok, reason, errno = self.fs.remove(path)
  if ok and self.durable then ok, reason, errno = self.fs.sync_dir(self.path) end
  if not ok then return M.fail(path, reason, errno) end
  return true
end

--- Sorted ids of the journals.
--- @return string[]|nil ids, string|nil message, oaichat.Error|nil err
function Disk:ids()
  local names, reason, errno = self.fs.list(self.path)
  if not names then return M.fail(self.path, reason, errno) end
  local ids = {}
  for _, name in ipairs(names) do
    local id = name:match "^(.+)%.jsonl$"
    if id and common.check_id(id) then ids[#ids + 1] = id end
  end
  table.sort(ids)
  return ids
end

--- A lock over processes; the system takes it from the dead.
--- @return table|nil held give it to unlock
--- @return string|nil message, oaichat.Error|nil err
function Disk:lock(id)
  local path = beside(self, id, ".lock")
  local file, text, err = hold(self, id, path, "ensure", "exclusive", 0)
  if not file then return nil, text, err end
  return { file = file, path = path }
end

--- @param held table may be unlocked twice
function Disk:unlock(held)
  if not held.file then return end
  self.fs.remove(held.path)
  held.file:close()
  held.file = nil
end

return M
