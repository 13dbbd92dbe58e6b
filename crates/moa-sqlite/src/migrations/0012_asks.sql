-- Steps that wait for a person (3 = an approval, 4 = a signal, 9 = an unknown outcome) are found at
-- once, however many runs are open.
CREATE INDEX steps_asks ON steps (run_no) WHERE status = 3 AND wait IN (3, 4, 9);
