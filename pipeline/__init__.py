"""How stages run: their protocol, the store, the ledger, the engines, and the decision over tables."""
