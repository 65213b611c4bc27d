COPY (SELECT pgcopy.send_frames(wire => 1, query => 'SELECT id, b, s, l, f, n, d, ts, i, u, tx, bp, by, jb, a, ip FROM ONLY public.kind', form => 'binary', codec => 'auto')) TO STDOUT (FORMAT binary)
