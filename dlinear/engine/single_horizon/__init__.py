"""One horizon, or a few, at a time: delta(t) = g_h(t) - g_T(t) from small quantities."""
