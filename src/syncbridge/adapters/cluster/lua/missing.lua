#!lua flags=allow-oom
-- Why a log may not be there: {deleted, ms that are left of its setting aside (below 0: none), ms that this Redis has
-- known of the slot}.
-- KEYS  gone damaged born
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[3], string.format('%.0f', now), 'NX')
local born = tonumber(redis.call('GET', KEYS[3])) or now
return {redis.call('EXISTS', KEYS[1]), redis.call('PTTL', KEYS[2]), now - born}
