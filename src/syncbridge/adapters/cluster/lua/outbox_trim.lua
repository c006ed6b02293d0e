#!lua
-- A slot has at most so many facts: the oldest are gone. Says how many.
-- KEYS  outbox
-- ARGV  facts_max
return redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])
