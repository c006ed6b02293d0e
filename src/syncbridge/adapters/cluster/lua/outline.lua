#!lua flags=no-writes
-- What is known of a log without reading it: {epoch, version, account, at, {mark...}}; nil where there is none.
-- KEYS  head snaps
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'account', 'at')
if not head[1] then return false end
for field = 2, 4 do head[field] = head[field] or '' end
return {head[1], head[2], head[3], head[4], redis.call('ZRANGE', KEYS[2], 0, -1)}
