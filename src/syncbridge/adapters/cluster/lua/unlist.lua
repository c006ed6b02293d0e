#!lua flags=allow-oom
-- The session is in no index over all of them, unless it was listed again since.
-- KEYS  all due
-- ARGV  session  the due time that it was found with ('' whatever it is)
if ARGV[2] ~= '' and tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or -1) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
