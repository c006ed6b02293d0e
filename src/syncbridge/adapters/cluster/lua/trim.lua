#!lua flags=allow-oom
-- What history lets go is gone: entries up to `base`, and these snapshots.
-- KEYS  head log snap snaps
-- ARGV  epoch  base  then the versions
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local base = tonumber(ARGV[2])
if base > 0 then redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', base + 1)) end
for version = 3, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[version])
  redis.call('ZREMRANGEBYSCORE', KEYS[4], ARGV[version], ARGV[version])
end
return 1
