"""The ports' answers for many nodes: Redis, PostgreSQL, RabbitMQ, Vault."""
