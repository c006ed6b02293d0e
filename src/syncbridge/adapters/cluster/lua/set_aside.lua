#!lua flags=allow-oom
-- A damaged log is out of the way, and kept for whoever looks at it: 1; 0 where there is none.
-- KEYS  damaged, then the log's keys, then what each is called from now on
-- ARGV  at  how long it is kept, in ms
local half = (#KEYS - 1) / 2
local moved = 0
for key = 2, 1 + half do
  if redis.call('EXISTS', KEYS[key]) == 1 then
    redis.call('RENAME', KEYS[key], KEYS[key + half])
    redis.call('PEXPIRE', KEYS[key + half], ARGV[2])
    moved = 1
  end
end
if moved == 1 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return moved
