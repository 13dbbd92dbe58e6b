-- Notifications are counted and deleted apart from the runs that people have asked for.
CREATE INDEX runs_notifications ON runs (status, finished_at) WHERE workflow = 'moa-notify';
