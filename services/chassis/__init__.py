"""What every service bolts onto. It knows no model, render, device or price."""
