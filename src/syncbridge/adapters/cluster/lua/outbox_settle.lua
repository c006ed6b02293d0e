#!lua
-- What the broker confirmed waits no more; what a session grew by since then still does.
-- KEYS  outbox changed relay
-- ARGV  holder fence count, then so many ids of facts, then session and change, as they were taken
-- Says  1 settled; 2 settled, and nothing waits; 0 the lease was lost, and nothing was settled
local lease = redis.call('HMGET', KEYS[3], 'holder', 'fence')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return 0 end

local last = 3 + tonumber(ARGV[3])
for place = 4, last do redis.call('XDEL', KEYS[1], ARGV[place]) end
-- A stream without entries is a key all the same.
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
for place = last + 1, #ARGV, 2 do
  local session, told = ARGV[place], ARGV[place + 1]
  local stands = redis.call('HGET', KEYS[2], session)
  if stands == told then
    redis.call('HDEL', KEYS[2], session)
  elseif stands then
    local told_last, told_epoch = string.match(told, '^%d+ (%d+) %d+ %d+ (%S+) ')
    local newest, at, epoch, account = string.match(stands, '^%d+ (%d+) %d+ (%d+) (%S+) (.*)$')
    if epoch == told_epoch then
      local first = string.format('%.0f', tonumber(told_last) + 1)
      redis.call('HSET', KEYS[2], session, table.concat({first, newest, at, at, epoch, account}, ' '))
    end
  end
end
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return 1 end
-- Whoever finds something here next may have it at once; the fence stays, for it must never be smaller.
redis.call('HSET', KEYS[3], 'until', '0')
return 2
