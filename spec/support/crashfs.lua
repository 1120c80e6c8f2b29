--- crashfs: a file system in memory, in the shape of core.file, that remembers what
-- was synced. From its log the states are rebuilt in which a machine may come up:
--   what was not synced may be missing, whole, or there in some 512-byte blocks, the
--   others cut off or NUL; a name may be as it was before any change to it that the
--   directory's sync did not cover.

local M = {}

local BLOCK = 512

local File = {}
File.__index = File

local Fs = {}
Fs.__index = Fs

local function failure(code)
  return nil, "simulated " .. code, code
end

-- Counts an operation; a fault may answer it.
local function step(fs, op)
  fs.steps = fs.steps + 1
  if fs.fault then return fs.fault(op, fs.steps) end
end

local function note(fs, entry)
  fs.log[#fs.log + 1] = entry
end

-- ---- bytes -------------------------------------------------------------------------

local function put(bytes, at, new)
  if #bytes < at then bytes = bytes .. ("\0"):rep(at - #bytes) end
  return bytes:sub(1, at) .. new .. bytes:sub(at + #new + 1)
end

local function cut(bytes, size)
  if size <= #bytes then return bytes:sub(1, size) end
  return bytes .. ("\0"):rep(size - #bytes)
end

-- ---- a file ------------------------------------------------------------------------

function File:read(at, n)
  local code = step(self.fs, "read")
  if code then return failure(code) end
  return self.fs.data[self.inode]:sub(at + 1, at + n)
end

function File:write(at, bytes)
  local code, part = step(self.fs, "write")
  if code then bytes = bytes:sub(1, math.floor(#bytes * (part or 0))) end
  local fs, inode = self.fs, self.inode
  fs.data[inode] = put(fs.data[inode], at, bytes)
  if bytes ~= "" then note(fs, { op = "write", inode = inode, at = at, bytes = bytes }) end
  if code then return failure(code) end
  return true
end

function File:truncate(size)
  local code = step(self.fs, "truncate")
  if code then return failure(code) end
  self.fs.data[self.inode] = cut(self.fs.data[self.inode], size)
  note(self.fs, { op = "truncate", inode = self.inode, size = size })
  return true
end

function File:sync()
  local code = step(self.fs, "sync")
  if code then return failure(code) end
  note(self.fs, { op = "sync", inode = self.inode })
  return true
end

function File:size()
  return #self.fs.data[self.inode]
end

function File:lock()
  return true
end

function File:same(path)
  return self.fs.names[path] == self.inode
end

function File:close()
  self.inode = nil
end

-- ---- names -------------------------------------------------------------------------

function Fs:build()
  local fs, api = self, {}
  function api.open(path, mode)
    local code = step(fs, "open")
    if code then return failure(code) end
    local inode = fs.names[path]
    if inode and mode == "create" then return failure "EEXIST" end
    if not inode then
      if mode == "read" or mode == "write" then return failure "ENOENT" end
      fs.inodes = fs.inodes + 1
      inode = fs.inodes
      fs.names[path], fs.data[inode] = inode, ""
      note(fs, { op = "name", path = path, inode = inode })
    end
    return setmetatable({ fs = fs, inode = inode }, File)
  end
  function api.rename(from, to)
    local code = step(fs, "rename")
    if code then return failure(code) end
    if not fs.names[from] then return failure "ENOENT" end
    fs.names[to], fs.names[from] = fs.names[from], nil
    note(fs, { op = "rename", from = from, path = to, inode = fs.names[to] })
    return true
  end
  function api.remove(path)
    local code = step(fs, "remove")
    if code then return failure(code) end
    if not fs.names[path] then return failure "ENOENT" end
    fs.names[path] = nil
    note(fs, { op = "remove", path = path })
    return true
  end
  function api.sync_dir()
    local code = step(fs, "sync_dir")
    if code then return failure(code) end
    note(fs, { op = "sync_dir" })
    return true
  end
  function api.mkdir()
    return false
  end
  function api.stat(path)
    local inode = fs.names[path]
    if not inode then return failure "ENOENT" end
    return { size = #fs.data[inode], mode = 384, kind = "file" }
  end
  function api.list(path)
    local out = {}
    for name in pairs(fs.names) do
      if name:sub(1, #path + 1) == path .. "/" then out[#out + 1] = name:sub(#path + 2) end
    end
    return out
  end
  fs.api = api
  return fs
end

--- @param names table|nil path -> bytes, all of it on the disk
--- @return table fs with api (give it to the store), log, steps; `fault` may be set: fun(op, number) -> errno|nil,
---   part of a write that happens all the same
function M.new(names)
  local fs = setmetatable({ names = {}, data = {}, log = {}, inodes = 0, steps = 0 }, Fs)
  for path, bytes in pairs(names or {}) do
    fs.inodes = fs.inodes + 1
    fs.names[path], fs.data[fs.inodes] = fs.inodes, bytes
  end
  fs.start = {}
  for path, bytes in pairs(names or {}) do fs.start[path] = bytes end
  fs.base = fs.inodes
  fs.base_names = {}
  for path, inode in pairs(fs.names) do fs.base_names[path] = inode end
  return fs:build()
end

-- ---- crashes -----------------------------------------------------------------------

-- What a write leaves when not all of its blocks arrive: some are there, and the
-- file ends behind the last of them or has its new size, with NULs between.
local function torn(bytes, entry, choose)
  local shape = choose(3)
  if shape == 1 then return bytes end
  if shape == 2 then return put(bytes, entry.at, entry.bytes) end
  local at, stop = entry.at, entry.at + #entry.bytes
  if choose(2) == 1 then bytes = cut(bytes, math.max(#bytes, stop)) end
  while at < stop do
    local block_end = math.min(stop, (math.floor(at / BLOCK) + 1) * BLOCK)
    if choose(2) == 1 then bytes = put(bytes, at, entry.bytes:sub(at - entry.at + 1, block_end - entry.at)) end
    at = block_end
  end
  return bytes
end

--- The disk after a crash behind the first n entries of the log.
--- @param choose fun(n: integer): integer
--- @return table names path -> bytes
function M.crash(fs, n, choose)
  local synced, dir_synced = {}, 0
  for i = 1, n do
    local entry = fs.log[i]
    if entry.op == "sync" then synced[entry.inode] = i end
    if entry.op == "sync_dir" then dir_synced = i end
  end
  local data, names = {}, {}
  for path, inode in pairs(fs.base_names) do
    names[path], data[inode] = inode, fs.start[path]
  end
  for i = 1, n do
    local entry = fs.log[i]
    local op, inode = entry.op, entry.inode
    local sure = inode and i <= (synced[inode] or 0)
    if op == "write" then
      data[inode] = data[inode] or ""
      data[inode] = sure and put(data[inode], entry.at, entry.bytes) or torn(data[inode], entry, choose)
    elseif op == "truncate" then
      if sure or choose(2) == 1 then data[inode] = cut(data[inode] or "", entry.size) end
    elseif op == "name" or op == "rename" or op == "remove" then
      if i <= dir_synced or choose(2) == 1 then
        -- a rename is one step; what it renames may itself have no name yet
        if entry.from then names[entry.from] = nil end
        names[entry.path] = inode
      end
    end
  end
  local out = {}
  for path, inode in pairs(names) do out[path] = data[inode] or "" end
  return out
end

--- A choice that is always the same: k of n, as far as there are.
function M.always(k)
  return function(n) return math.min(k, n) end
end

--- A repeatable generator (Lehmer, MINSTD; Park and Miller 1988).
function M.random(seed)
  local x = seed % 2147483646 + 1
  local function next_one(n)
    x = (x * 48271) % 2147483647
    return math.floor(x / 2147483647 * n) + 1
  end
  for _ = 1, 5 do next_one(1) end -- the first ones of neighbours are alike
  return next_one
end

--- Bytes that tell one disk from another.
function M.key(names)
  local paths = {}
  for path in pairs(names) do paths[#paths + 1] = path end
  table.sort(paths)
  for i, path in ipairs(paths) do paths[i] = path .. "\0" .. #names[path] .. "\0" .. names[path] end
  return table.concat(paths, "\0")
end

return M
