"""What pages show, in the words of people; knows no HTTP and no protobuf."""
