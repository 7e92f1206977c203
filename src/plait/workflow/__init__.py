"""The main jobs in one call: fit a table, pretrain an encoder, inspect what training did."""
