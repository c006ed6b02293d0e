-- A node counted itself up, and the dead that it names are gone, where their count stood still.
--
-- KEYS  the nodes
-- ARGV  node, ms to live, then name and count of each dead node in turn
-- Gives node and count in turn.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then -- whatever it is, the nodes count anew
  redis.call('DEL', KEYS[1])
end
for place = 3, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[place]) == ARGV[place + 1] then
    redis.call('HDEL', KEYS[1], ARGV[place])
  end
end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('HGETALL', KEYS[1])
