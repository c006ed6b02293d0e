#!lua flags=allow-oom
-- Nothing of the session is left but that it was deleted: whose it was, or '' where nothing says it.
-- KEYS  gone head, what the head is called when it is set aside, then everything else
-- ARGV  how long the deletion is known, in ms
local account = ''
for key = 3, 2, -1 do
  if redis.call('TYPE', KEYS[key]).ok == 'hash' then account = redis.call('HGET', KEYS[key], 'account') or account end
end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
for key = 2, #KEYS do redis.call('UNLINK', KEYS[key]) end
return account
