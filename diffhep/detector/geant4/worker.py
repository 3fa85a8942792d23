"""The process that Geant4 runs in: one job as JSON in, one row of numbers an event out.

Started as a script, with the job's file as its argument, so that it needs nothing of this package
and starts in a second. Rows are appended as they are finished: what a crash leaves is whole events.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

DATA_VARIABLES = (
    "G4LEDATA",
    "G4ENSDFSTATEDATA",
    "G4NEUTRONHPDATA",
    "G4LEVELGAMMADATA",
    "G4RADIOACTIVEDATA",
    "G4PARTICLEXSDATA",
    "G4PIIDATA",
    "G4REALSURFACEDATA",
    "G4SAIDXSDATA",
    "G4ABLADATA",
    "G4INCLDATA",
    "G4CHANNELINGDATA",
    "GEANT4_DATA_DIR",
)
"""Where Geant4 looks for data; all must be set, or the import tries to download them."""

WORKER_VERSION = 1
"""Raised when a job gives other numbers than before: what is kept on disk is then made anew."""

EXIT_WIDTH = 6
"""Numbers that tell how a particle leaves a slab."""

MARGIN_MM = 10.0
"""Between the detector and the end of the world."""


def main(path: str) -> None:
    """Run the job of a file.

    Args:
        path: The JSON file.
    """
    job = json.loads(Path(path).read_text())
    import geant4_pybind as g4  # pyright: ignore[reportMissingImports]

    manager = g4.G4RunManagerFactory.CreateRunManager(g4.G4RunManagerType.Serial)
    with Path(job["rows"]).open("ab", buffering=0) as rows:
        # Geant4 only points to these: they are kept until the run is over.
        parts = _build(g4, job, rows)
        for part in parts:
            manager.SetUserInitialization(part)
        manager.Initialize()
        manager.BeamOn(job["n_events"])
    # Geant4's own destructors may fail after all work is done.
    sys.stdout.flush()
    os._exit(0)


def _build(g4: Any, job: dict[str, Any], rows: Any) -> tuple[Any, ...]:
    """Detector, physics and actions of a job."""

    class Detector(g4.G4VUserDetectorConstruction):
        def Construct(self) -> Any:
            return _slab(g4, job) if job["kind"] == "slab" else _stack(g4, job)

        def ConstructSDandField(self) -> None:
            self.sensitive = _plane(g4, job) if job["kind"] == "slab" else _scorer(g4, job)
            g4.G4SDManager.GetSDMpointer().AddNewDetector(self.sensitive)
            self.SetSensitiveDetector("sensitive", self.sensitive, True)

    class Physics(g4.G4VModularPhysicsList):
        def __init__(self) -> None:
            super().__init__()
            self.SetVerboseLevel(0)
            g4.G4EmParameters.Instance().SetVerbose(0)
            self.RegisterPhysics(g4.G4EmStandardPhysics())
            self.SetDefaultCutValue(job["cut_mm"] * g4.mm)

    class Gun(g4.G4VUserPrimaryGeneratorAction):
        def __init__(self) -> None:
            super().__init__()
            self.gun = g4.G4ParticleGun(1)
            particle = g4.G4ParticleTable.GetParticleTable().FindParticle(job["particle"])
            self.gun.SetParticleDefinition(particle)
            self.gun.SetParticleEnergy(job["energy_MeV"] * g4.MeV)
            self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(0, 0, 1))
            self.gun.SetParticlePosition(g4.G4ThreeVector(0, 0, -0.5 * _depth_mm(job) - 1.0))

        def GeneratePrimaries(self, event: Any) -> None:
            # A seed for every event: its result does not depend on those before it.
            g4.G4Random.setTheSeed(job["seeds"][event.GetEventID()])
            self.gun.GeneratePrimaryVertex(event)

    class End(g4.G4UserEventAction):
        def __init__(self, detector: Any) -> None:
            super().__init__()
            self.detector, self.collection = detector, -1

        def EndOfEventAction(self, event: Any) -> None:
            if job["kind"] == "slab":
                rows.write(_floats(self.detector.sensitive.take()))
                return
            if self.collection < 0:
                self.collection = g4.G4SDManager.GetSDMpointer().GetCollectionID("cells/deposit")
            row = [0.0] * job["width"]
            for index, value in event.GetHCofThisEvent().GetHC(self.collection):
                row[index] = value
            rows.write(_floats(row))

    detector = Detector()

    class Actions(g4.G4VUserActionInitialization):
        def Build(self) -> None:
            self.gun, self.end = Gun(), End(detector)
            self.SetUserAction(self.gun)
            self.SetUserAction(self.end)

    return detector, Physics(), Actions()


def _floats(values: list[float]) -> bytes:
    """Little-endian floats; the reader counts on the width."""
    from struct import pack

    return pack(f"<{len(values)}f", *values)


def _depth_mm(job: dict[str, Any]) -> float:
    """Depth of the detector along the beam."""
    return job["n_layers"] * sum(job["thicknesses_mm"])


def _material(g4: Any, name: str) -> Any:
    """A material of Geant4's own catalogue."""
    found = g4.G4NistManager.Instance().FindOrBuildMaterial(name)
    if found is None:
        sys.exit(f"Geant4 knows no material {name}")
    return found


def _volume(g4: Any, job: dict[str, Any], name: str, depth_mm: float, material: Any) -> Any:
    """A slab across the whole detector: round where it has rings, square else."""
    half = 0.5 * depth_mm * g4.mm
    if job["n_rings"] > 1:
        radius = job["n_rings"] * job["ring_mm"] * g4.mm
        solid = g4.G4Tubs(name, 0.0, radius, half, 0.0, g4.twopi)
    else:
        side = job["half_width_mm"] * g4.mm
        solid = g4.G4Box(name, side, side, half)
    return g4.G4LogicalVolume(solid, material, name)


def _world(g4: Any, job: dict[str, Any], depth_mm: float) -> tuple[Any, Any]:
    """An empty world around the detector, logical and placed."""
    vacuum = _material(g4, "G4_Galactic")
    side = (max(job["half_width_mm"], job["n_rings"] * job["ring_mm"]) + MARGIN_MM) * g4.mm
    solid = g4.G4Box("world", side, side, (0.5 * depth_mm + MARGIN_MM) * g4.mm)
    logical = g4.G4LogicalVolume(solid, vacuum, "world")
    origin = g4.G4ThreeVector()
    return logical, g4.G4PVPlacement(None, origin, logical, "world", None, False, 0)


def _place(g4: Any, logical: Any, z_mm: float, mother: Any, copy: int) -> None:
    position = g4.G4ThreeVector(0, 0, z_mm * g4.mm)
    g4.G4PVPlacement(None, position, logical, logical.GetName(), mother, False, copy)


def _stack(g4: Any, job: dict[str, Any]) -> Any:
    """Layers as replicas along z, slabs placed in them, rings as replicas in the slabs."""
    depth, vacuum = _depth_mm(job), _material(g4, "G4_Galactic")
    world, placed = _world(g4, job, depth)
    whole = _volume(g4, job, "detector", depth, vacuum)
    _place(g4, whole, 0.0, world, 0)
    pitch = sum(job["thicknesses_mm"])
    layer = _volume(g4, job, "layer", pitch, vacuum)
    if job["n_layers"] > 1:
        g4.G4PVReplica("layer", layer, whole, g4.kZAxis, job["n_layers"], pitch * g4.mm)
    else:
        _place(g4, layer, 0.0, whole, 0)
    front = -0.5 * pitch
    for copy, (name, depth_mm) in enumerate(
        zip(job["materials"], job["thicknesses_mm"], strict=True)
    ):
        material = _material(g4, name)
        rings = job["n_rings"] > 1
        slab = _volume(g4, job, "slab" if rings else "sensitive", depth_mm, material)
        _place(g4, slab, front + 0.5 * depth_mm, layer, copy)
        if rings:
            width = job["ring_mm"] * g4.mm
            solid = g4.G4Tubs("ring", 0.0, width, 0.5 * depth_mm * g4.mm, 0.0, g4.twopi)
            ring = g4.G4LogicalVolume(solid, material, "sensitive")
            g4.G4PVReplica("ring", ring, slab, g4.kRho, job["n_rings"], width)
        front += depth_mm
    return placed


def _scorer(g4: Any, job: dict[str, Any]) -> Any:
    """Energy by cell, summed in C++: index (layer, slab, ring), row by row."""
    cells = g4.G4MultiFunctionalDetector("cells")
    n_layers, n_slabs, n_rings = job["n_layers"], len(job["materials"]), job["n_rings"]
    if n_rings > 1:
        sizes = (n_layers, n_slabs, n_rings, 2, 1, 0)
    else:
        # The middle axis has one entry: the copy number of the whole detector, 0.
        sizes = (n_layers, 1, n_slabs, 1, 2, 0)
    cells.RegisterPrimitive(g4.G4PSEnergyDeposit3D("deposit", *sizes))
    return cells


def _slab(g4: Any, job: dict[str, Any]) -> Any:
    """One slab with a thin empty plane behind it."""
    depth = _depth_mm(job)
    world, placed = _world(g4, job, depth + 2.0)
    slab = _volume(g4, job, "slab", depth, _material(g4, job["materials"][0]))
    _place(g4, slab, 0.0, world, 0)
    plane = _volume(g4, job, "sensitive", 0.1, _material(g4, "G4_Galactic"))
    _place(g4, plane, 0.5 * depth + 0.1, world, 0)
    return placed


def _plane(g4: Any, job: dict[str, Any]) -> Any:
    """Where, whereto and with how much energy the primary leaves the slab."""
    empty = [float("nan")] * job["width"]

    class Plane(g4.G4VSensitiveDetector):
        def __init__(self) -> None:
            super().__init__("plane")
            self.row = empty

        def ProcessHits(self, step: Any, history: Any) -> bool:
            track = step.GetTrack()
            if track.GetTrackID() == 1:
                at, to = step.GetPreStepPoint().GetPosition(), track.GetMomentumDirection()
                energy = step.GetPreStepPoint().GetKineticEnergy() / g4.MeV
                self.row = [at.x / g4.mm, at.y / g4.mm, to.x, to.y, to.z, energy]
            return True

        def take(self) -> list[float]:
            row, self.row = self.row, empty
            return row

    return Plane()


if __name__ == "__main__":
    main(sys.argv[1])
