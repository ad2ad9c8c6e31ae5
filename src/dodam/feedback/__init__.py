"""What people say about answers: a store of rankings, demonstrations and thumbs, and how far to trust them."""
