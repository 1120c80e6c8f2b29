--- lru: a map that knows which of its entries was used longest ago. Holds what it is
-- given; the owner says when something has to go.

local M = {}

local Map = {}
Map.__index = Map

local function unlink(node)
  node.before.after, node.after.before = node.after, node.before
end

-- Behind the newest, before the head: the list is a ring.
local function link(map, node)
  local head = map._head
  node.before, node.after = head.before, head
  head.before.after, head.before = node, node
end

--- The value of a key, which counts as used now.
--- @return any value nil: there is none
function Map:get(key)
  local node = self._nodes[key]
  if not node then return nil end
  unlink(node)
  link(self, node)
  return node.value
end

--- The value of a key, which stays as old as it was.
function Map:peek(key)
  local node = self._nodes[key]
  return node and node.value
end

--- @param value any not nil
function Map:put(key, value)
  self:remove(key)
  local node = { key = key, value = value }
  self._nodes[key] = node
  self.count = self.count + 1
  link(self, node)
end

--- @return any value what was there
function Map:remove(key)
  local node = self._nodes[key]
  if not node then return nil end
  unlink(node)
  self._nodes[key] = nil
  self.count = self.count - 1
  return node.value
end

--- @return any key, any value of the one that was used longest ago
function Map:oldest()
  local node = self._head.after
  return node.key, node.value
end

--- From the oldest to the newest; what was handed out may be removed.
function Map:each()
  local following = self._head.after
  return function()
    local node = following
    following = node.after
    return node.key, node.value
  end
end

function M.new()
  local head = {}
  head.before, head.after = head, head
  return setmetatable({ _nodes = {}, _head = head, count = 0 }, Map)
end

return M
