#!lua flags=allow-cross-slot-keys,no-writes
-- Which slots of this server have something that the broker was not told.
-- ARGV  the tags of the slots to look at, of whatever server
-- Says  for each of its own that has: its place among the tags, how many facts, how many changes, the oldest fact's id
-- Cost  about 1.6 microseconds a tag; run a part of the slots at a time.
local found = {}
for place, tag in ipairs(ARGV) do
  local facts, changes = 'sb:{' .. tag .. '}:outbox', 'sb:{' .. tag .. '}:changed'
  -- Another server's slot is an error, and none of ours.
  local there = redis.pcall('EXISTS', facts, changes)
  if type(there) == 'number' and there > 0 then
    local oldest = redis.call('XRANGE', facts, '-', '+', 'COUNT', 1)[1]
    found[#found + 1] = {place, redis.call('XLEN', facts), redis.call('HLEN', changes), oldest and oldest[1] or ''}
  end
end
return found
