#!lua flags=no-writes
-- Whether a log stands where a reader believes: what commit.lua asks before it appends, and nothing is written, so that
-- it is answered also where Redis takes no writes (memory or disk is full).
-- KEYS  head gone
-- ARGV  1 epoch  2 expected  3 when the entry at `expected` was committed (0: not known)
-- Says  as commit.lua
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'at')
if not head[1] then
  if redis.call('EXISTS', KEYS[2]) == 1 then return {3} end
  return {5, 0}
end
if head[1] ~= ARGV[1] then return {3} end
local version, expected = tonumber(head[2]), tonumber(ARGV[2])
if not version then return {6, 'the head names no version'} end
if expected > version then return {5, version} end
if expected < version then return {2, version} end
if ARGV[3] ~= '0' and head[3] ~= ARGV[3] then return {3} end
return 1
