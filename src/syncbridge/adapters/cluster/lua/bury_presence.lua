-- What a node that is presumed dead said of a session is removed, and that is said; only if it stands as it was seen.
--
-- KEYS  the session's presence, its channel
-- ARGV  node, the number of its statement, a frame with that number and no devices
-- Gives 1, or 0 where another statement stands: the node came back, or somebody else was first.
local stands = redis.call('HGET', KEYS[1], ARGV[1])
if not stands or string.match(stands, '^%d+') ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SPUBLISH', KEYS[2], ARGV[3])
return 1
