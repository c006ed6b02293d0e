#!lua flags=no-writes
-- Where a replay begins: {epoch, version, account, at, base, snapshot, newest}; nil where there is no log.
-- `snapshot` is the newest at or before the version (or the oldest there is), at `base`; `newest` {version, snapshot}
-- of the newest of all, where that is another and asked for. Each is '' where it is not there.
-- KEYS  head snap snaps
-- ARGV  'reach' or 'version', and which
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'account', 'at')
if not head[1] then return false end
for field = 2, 4 do head[field] = head[field] or '' end
local version = tonumber(ARGV[2])
if ARGV[1] == 'reach' then version = (tonumber(head[2]) or 0) - version end
local found = redis.call('ZREVRANGEBYSCORE', KEYS[3], string.format('%.0f', version), '-inf', 'LIMIT', 0, 1)[1]
found = found or redis.call('ZRANGE', KEYS[3], 0, 0)[1] or ''
local base = string.match(found, '^%d+') or ''
local newest = string.match(redis.call('ZRANGE', KEYS[3], -1, -1)[1] or '', '^%d+') or ''
local other = {'', ''}
if ARGV[1] == 'reach' and newest ~= base then other = {newest, redis.call('HGET', KEYS[2], newest) or ''} end
return {head[1], head[2], head[3], head[4], base, redis.call('HGET', KEYS[2], base) or '', other}
