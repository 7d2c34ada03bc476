"""The services of Forge. They share the chassis and nothing else; they meet over gRPC."""
