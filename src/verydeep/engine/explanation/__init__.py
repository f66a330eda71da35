"""What a net sees: class score maps, the windows behind them, boxes and filters, as arrays and pictures."""
