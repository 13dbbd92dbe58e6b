//! Two stores, the same random operations, the same answers.
