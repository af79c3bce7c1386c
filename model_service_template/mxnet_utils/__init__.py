"""What MXNet handlers share: images, arrays, texts and bound symbols. Under the names that MMS gave them."""
