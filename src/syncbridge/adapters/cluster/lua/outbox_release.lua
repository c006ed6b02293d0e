#!lua
-- The lease of a slot is over, if it is the holder's.
-- KEYS  relay
-- ARGV  holder
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('HSET', KEYS[1], 'until', '0') end
return 1
