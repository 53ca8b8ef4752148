"""What is read from the prediction log and from newer outcomes, and how it is shown."""
