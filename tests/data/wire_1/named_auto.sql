COPY (SELECT pgcopy.send_frames(wire => 1, query => 'SELECT id, kind, note FROM ONLY public.named', form => 'text', codec => 'auto')) TO STDOUT (FORMAT binary)
