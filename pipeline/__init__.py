"""How stages run: their protocol, the store, ledger and engines, and the decision over tables."""
