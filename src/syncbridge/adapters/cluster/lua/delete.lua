#!lua flags=allow-oom
-- Nothing of the session is left but that it was deleted: {account, the device that an offer waited for}, or ''.
-- KEYS  gone head, what the head is called when it is set aside, then everything else
-- ARGV  how long the deletion is known, in ms
local known = {'', ''}
for key = 3, 2, -1 do
  if redis.call('TYPE', KEYS[key]).ok == 'hash' then
    local found = redis.call('HMGET', KEYS[key], 'account', 'waiting_for')
    known = {found[1] or known[1], found[2] or known[2]}
  end
end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
for key = 2, #KEYS do redis.call('UNLINK', KEYS[key]) end
return known
