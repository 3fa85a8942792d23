"""Settings of PYTHIA that tests share."""

HADRONS = (
    "Beams:idA = 11",
    "Beams:idB = -11",
    "Beams:eCM = 91.1876",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 1 2 3 4 5",
)
