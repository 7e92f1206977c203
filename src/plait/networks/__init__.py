"""Networks: everything that is trained, from Tokens to the output."""
