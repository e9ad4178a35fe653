"""From rows to numbers: accuracies with intervals, tests, groups of films, means of measures."""
