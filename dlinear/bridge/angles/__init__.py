"""The angle between g_h and g_T in real models: measured without cancellation, predicted by Theorem D."""
