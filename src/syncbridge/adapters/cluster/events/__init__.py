"""What other services are told, from the outboxes to RabbitMQ."""
