"""An ordinary Flower app that knows nothing of Folkmoot."""
