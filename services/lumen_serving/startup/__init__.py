"""From verified files to a warm and proven model behind the queues."""
