//! Who may act: membership, leadership, rings, claims, permits and the journal.
