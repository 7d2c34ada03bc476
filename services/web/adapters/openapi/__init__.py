"""The API as an OpenAPI 3.1 document, made of the contract; `by_hand.yaml` has the little that it cannot say."""
