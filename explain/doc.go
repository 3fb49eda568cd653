// Package explain tells one order's life: what happened to it, who did each step, how long
// each took, and what is still to come.
//
// It reads, and changes nothing. The past is in the log, which is read backward from its
// end to the order's decision: so an order of just now costs one page of the log, however
// long the log is, and one that waits costs nothing of it. What came before the decision
// is found by the ids of entries, which are times. What is still to come is in the inboxes:
// where the order or its books wait, and in which instance's hands they are.
//
// A log is cut at its old end, as long as the terms say. If the decision is gone from it, the receipt still
// tells what was decided, and the life says that its beginning is not known. A repeat of an
// order leaves no trace in the log, because nothing happened.
package explain
