#!lua
-- What a slot has for the broker, under a lease: its oldest facts, and its changes where those are all the facts.
-- KEYS  outbox changed relay
-- ARGV  holder lease_ms facts_max
-- Says  {0} another has the lease; {1} nothing waits; {2, fence, more, {id, fact, ...}, {session, change, ...}}
-- The lease's times are this server's own, so nodes whose clocks differ agree on them. The fence grows with each
-- change of holder, and when the lease ran out in between.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[3], 'holder', 'fence', 'until')
local is_over = not lease[3] or tonumber(lease[3]) <= now
if lease[1] and lease[1] ~= ARGV[1] and not is_over then return {0} end

local most = tonumber(ARGV[3])
local rows = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', most + 1)
local facts, more = {}, 0
for place, row in ipairs(rows) do
  if place > most then
    more = 1
  else
    facts[#facts + 1] = row[1]
    facts[#facts + 1] = row[2][2]
  end
end
local changes = {}
if more == 0 then changes = redis.call('HGETALL', KEYS[2]) end
if #facts == 0 and #changes == 0 then return {1} end

local fence = tonumber(lease[2] or '0')
if is_over or lease[1] ~= ARGV[1] then fence = fence + 1 end
redis.call('HSET', KEYS[3], 'holder', ARGV[1], 'fence', fence, 'until', string.format('%.0f', now + ARGV[2]))
return {2, fence, more, facts, changes}
