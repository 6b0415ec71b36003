"""Parts of forward-forward (`dlinear.rules.forward_forward`), and its training at the published setting."""
