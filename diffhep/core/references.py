"""The table of sources that `diffhep.core.citations` cites from, as BibTeX."""

from collections.abc import Mapping
from types import MappingProxyType


def _article(
    label: str, authors: str, title: str, year: str, source: str, journal: str = ""
) -> str:
    """One BibTeX entry; `source` is an arXiv number or a DOI with its prefix."""
    kind, _, number = source.partition(":")
    lines = [f"author = {{{authors}}}", f"title = {{{{{title}}}}}"]
    if journal:
        lines.append(f"journal = {{{journal}}}")
    lines.append(f"year = {{{year}}}")
    if kind == "arXiv":
        lines += [f"eprint = {{{number}}}", "archivePrefix = {arXiv}"]
    else:
        lines.append(f"doi = {{{number}}}")
    body = ",\n".join(f"  {line}" for line in lines)
    return f"@article{{{label},\n{body}\n}}"


_ENTRIES = (
    (
        "kanwar2020",
        "G. Kanwar and M. S. Albergo and D. Boyda and K. Cranmer and D. C. Hackett and "
        "S. Racani\\`ere and D. J. Rezende and P. E. Shanahan",
        "Equivariant flow-based sampling for lattice gauge theory",
        "2020",
        "arXiv:2003.06413",
        "Phys. Rev. Lett. 125, 121601",
    ),
    (
        "albergo2019",
        "M. S. Albergo and G. Kanwar and P. E. Shanahan",
        "Flow-based generative models for Markov chain Monte Carlo in lattice field theory",
        "2019",
        "arXiv:1904.12072",
        "Phys. Rev. D 100, 034515",
    ),
    (
        "gerdes2023",
        "M. Gerdes and P. de Haan and C. Rainone and R. Bondesan and M. C. N. Cheng",
        "Learning Lattice Quantum Field Theories with Equivariant Continuous Flows",
        "2023",
        "arXiv:2207.00283",
        "SciPost Phys. 15, 238",
    ),
    (
        "albergo2021",
        "M. S. Albergo and D. Boyda and D. C. Hackett and G. Kanwar and K. Cranmer and "
        "S. Racani\\`ere and D. J. Rezende and P. E. Shanahan",
        "Introduction to Normalizing Flows for Lattice Field Theory",
        "2021",
        "arXiv:2101.08176",
    ),
    (
        "boyda2021",
        "D. Boyda and G. Kanwar and S. Racani\\`ere and D. J. Rezende and M. S. Albergo and "
        "K. Cranmer and D. C. Hackett and P. E. Shanahan",
        "Sampling using SU(N) gauge equivariant flows",
        "2021",
        "arXiv:2008.05456",
        "Phys. Rev. D 103, 074504",
    ),
    (
        "rezende2020",
        "D. J. Rezende and G. Papamakarios and S. Racani\\`ere and M. S. Albergo and G. Kanwar and "
        "P. E. Shanahan and K. Cranmer",
        "Normalizing Flows on Tori and Spheres",
        "2020",
        "arXiv:2002.02428",
    ),
    (
        "durkan2019",
        "C. Durkan and A. Bekasov and I. Murray and G. Papamakarios",
        "Neural Spline Flows",
        "2019",
        "arXiv:1906.04032",
    ),
    (
        "vaitl2022",
        "L. Vaitl and K. A. Nicoli and S. Nakajima and P. Kessel",
        "Gradients should stay on Path: Better Estimators of the Reverse- and Forward KL "
        "Divergence for Normalizing Flows",
        "2022",
        "arXiv:2207.08219",
    ),
    (
        "nicoli2021",
        "K. A. Nicoli and C. J. Anders and L. Funcke and T. Hartung and K. Jansen and P. Kessel "
        "and S. Nakajima and P. Stornati",
        "Estimation of Thermodynamic Observables in Lattice Field Theories with Deep Generative "
        "Models",
        "2021",
        "arXiv:2007.07115",
        "Phys. Rev. Lett. 126, 032001",
    ),
    (
        "luscher2010",
        'M. L{\\"u}scher',
        "Trivializing maps, the Wilson flow and the HMC algorithm",
        "2010",
        "arXiv:0907.5491",
        "Commun. Math. Phys. 293, 899",
    ),
    (
        "jin2022",
        "X.-Y. Jin",
        "Neural Network Field Transformation and Its Application in HMC",
        "2022",
        "arXiv:2201.01862",
        "PoS LATTICE2021, 600",
    ),
    (
        "duane1987",
        "S. Duane and A. D. Kennedy and B. J. Pendleton and D. Roweth",
        "Hybrid Monte Carlo",
        "1987",
        "doi:10.1016/0370-2693(87)91197-X",
        "Phys. Lett. B 195, 216",
    ),
    (
        "omelyan2003",
        "I. P. Omelyan and I. M. Mryglod and R. Folk",
        "Symplectic analytically integrable decomposition algorithms: classification, derivation, "
        "and application to molecular dynamics, quantum and celestial mechanics simulations",
        "2003",
        "doi:10.1016/S0010-4655(02)00754-3",
        "Comput. Phys. Commun. 151, 272",
    ),
    (
        "takaishi2006",
        "T. Takaishi and P. de Forcrand",
        "Testing and tuning symplectic integrators for the hybrid Monte Carlo algorithm in "
        "lattice QCD",
        "2006",
        "arXiv:hep-lat/0505020",
        "Phys. Rev. E 73, 036706",
    ),
    (
        "hoffman2014",
        "M. D. Hoffman and A. Gelman",
        "The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian Monte Carlo",
        "2014",
        "arXiv:1111.4246",
        "J. Mach. Learn. Res. 15, 1593",
    ),
    (
        "wolff2004",
        "U. Wolff",
        "Monte Carlo errors with less errors",
        "2004",
        "arXiv:hep-lat/0306017",
        "Comput. Phys. Commun. 156, 143",
    ),
    (
        "kingma2015",
        "D. P. Kingma and J. Ba",
        "Adam: A Method for Stochastic Optimization",
        "2015",
        "arXiv:1412.6980",
    ),
    (
        "kidger2021",
        "P. Kidger and C. Garcia",
        "Equinox: neural networks in JAX via callable PyTrees and filtered transformations",
        "2021",
        "arXiv:2111.00254",
    ),
    (
        "wilson1974",
        "K. G. Wilson",
        "Confinement of quarks",
        "1974",
        "doi:10.1103/PhysRevD.10.2445",
        "Phys. Rev. D 10, 2445",
    ),
    (
        "creutz1980",
        "M. Creutz",
        "Monte Carlo study of quantized SU(2) gauge theory",
        "1980",
        "doi:10.1103/PhysRevD.21.2308",
        "Phys. Rev. D 21, 2308",
    ),
    (
        "luscher2011",
        'M. L{\\"u}scher and S. Schaefer',
        "Lattice QCD without topology barriers",
        "2011",
        "arXiv:1105.4749",
        "JHEP 07, 036",
    ),
    (
        "luscher1985",
        'M. L{\\"u}scher and P. Weisz',
        "On-shell improved lattice gauge theories",
        "1985",
        "doi:10.1007/BF01206178",
        "Commun. Math. Phys. 97, 59",
    ),
    (
        "weisz1983",
        "P. Weisz",
        "Continuum limit improved lattice action for pure Yang-Mills theory (I)",
        "1983",
        "doi:10.1016/0550-3213(83)90595-3",
        "Nucl. Phys. B 212, 1",
    ),
    (
        "iwasaki1983",
        "Y. Iwasaki",
        "Renormalization Group Analysis of Lattice Theories and Improved Lattice "
        "Action. II. Four-dimensional non-Abelian SU(N) gauge model",
        "1983",
        "arXiv:1111.7054",
    ),
    (
        "taro2000",
        "{QCD-TARO Collaboration}",
        "Renormalization group flow of SU(3) lattice gauge theory: Numerical studies "
        "in a two coupling space",
        "2000",
        "arXiv:hep-lat/9911033",
        "Nucl. Phys. B 577, 263",
    ),
    (
        "drouffe1983",
        "J.-M. Drouffe and J.-B. Zuber",
        "Strong coupling and mean field methods in lattice gauge theories",
        "1983",
        "doi:10.1016/0370-1573(83)90034-0",
        "Phys. Rept. 102, 1",
    ),
    (
        "bonati2019",
        "C. Bonati and P. Rossi",
        "The topological susceptibility of two-dimensional U(N) gauge theories",
        "2019",
        "arXiv:1901.09830",
        "Phys. Rev. D 99, 054503",
    ),
    (
        "albergo2022",
        "M. S. Albergo and D. Boyda and K. Cranmer and D. C. Hackett and G. Kanwar and "
        "S. Racani\\`ere and D. J. Rezende and F. Romero-L{\\'o}pez and P. E. Shanahan "
        "and J. M. Urban",
        "Flow-based sampling in the lattice Schwinger model at criticality",
        "2022",
        "arXiv:2202.11712",
        "Phys. Rev. D 106, 014514",
    ),
    (
        "morningstar2004",
        "C. Morningstar and M. Peardon",
        "Analytic smearing of SU(3) link variables in lattice QCD",
        "2004",
        "arXiv:hep-lat/0311018",
        "Phys. Rev. D 69, 054501",
    ),
    (
        "bulgarelli2024",
        "A. Bulgarelli and E. Cellini and A. Nada",
        "Scaling of Stochastic Normalizing Flows in SU(3) lattice gauge theory",
        "2024",
        "arXiv:2412.00200",
    ),
    (
        "luscher2010b",
        'M. L{\\"u}scher',
        "Properties and uses of the Wilson flow in lattice QCD",
        "2010",
        "arXiv:1006.4518",
        "JHEP 08, 071",
    ),
    (
        "fritzsch2013",
        "P. Fritzsch and A. Ramos",
        'The gradient flow coupling in the Schr{\\"o}dinger Functional',
        "2013",
        "arXiv:1301.4388",
        "JHEP 10, 008",
    ),
    (
        "borsanyi2012",
        "S. Bors{\\'a}nyi and others",
        "High-precision scale setting in lattice QCD",
        "2012",
        "arXiv:1203.4469",
        "JHEP 09, 010",
    ),
    (
        "bilson2003",
        "S. O. Bilson-Thompson and D. B. Leinweber and A. G. Williams",
        "Highly improved lattice field-strength tensor",
        "2003",
        "arXiv:hep-lat/0203008",
        "Annals Phys. 304, 1",
    ),
    (
        "verlet1967",
        "L. Verlet",
        'Computer \\"Experiments\\" on Classical Fluids. I. Thermodynamical Properties '
        "of Lennard-Jones Molecules",
        "1967",
        "doi:10.1103/PhysRev.159.98",
        "Phys. Rev. 159, 98",
    ),
    (
        "kennedy2009",
        "A. D. Kennedy and M. A. Clark and P. J. Silva",
        "Force Gradient Integrators",
        "2009",
        "arXiv:0910.2950",
        "PoS LAT2009, 021",
    ),
    (
        "yin2011",
        "H. Yin and R. D. Mawhinney",
        'Improving DWF Simulations: the Force Gradient Integrator and the M{\\"o}bius '
        "Accelerated DWF Solver",
        "2011",
        "arXiv:1111.5059",
        "PoS LATTICE2011, 051",
    ),
    (
        "sexton1992",
        "J. C. Sexton and D. H. Weingarten",
        "Hamiltonian evolution for the hybrid Monte Carlo algorithm",
        "1992",
        "doi:10.1016/0550-3213(92)90263-B",
        "Nucl. Phys. B 380, 665",
    ),
    (
        "tierney1994",
        "L. Tierney",
        "Markov Chains for Exploring Posterior Distributions",
        "1994",
        "doi:10.1214/aos/1176325750",
        "Ann. Statist. 22, 1701",
    ),
    (
        "creutz1980",
        "M. Creutz",
        "Monte Carlo study of quantized SU(2) gauge theory",
        "1980",
        "doi:10.1103/PhysRevD.21.2308",
        "Phys. Rev. D 21, 2308",
    ),
    (
        "kennedy1985",
        "A. D. Kennedy and B. J. Pendleton",
        "Improved heatbath method for Monte Carlo calculations in lattice gauge theories",
        "1985",
        "doi:10.1016/0370-2693(85)91632-6",
        "Phys. Lett. B 156, 393",
    ),
    (
        "cabibbo1982",
        "N. Cabibbo and E. Marinari",
        "A new method for updating SU(N) matrices in computer simulations of gauge theories",
        "1982",
        "doi:10.1016/0370-2693(82)90696-7",
        "Phys. Lett. B 119, 387",
    ),
    (
        "best1979",
        "D. J. Best and N. I. Fisher",
        "Efficient Simulation of the von Mises Distribution",
        "1979",
        "doi:10.2307/2346732",
        "J. R. Stat. Soc. C 28, 152",
    ),
    (
        "creutz1987",
        "M. Creutz",
        "Overrelaxation and Monte Carlo simulation",
        "1987",
        "doi:10.1103/PhysRevD.36.515",
        "Phys. Rev. D 36, 515",
    ),
    (
        "brown1987",
        "F. R. Brown and T. J. Woch",
        "Overrelaxed heat-bath and Metropolis algorithms for accelerating pure gauge "
        "Monte Carlo calculations",
        "1987",
        "doi:10.1103/PhysRevLett.58.2394",
        "Phys. Rev. Lett. 58, 2394",
    ),
    (
        "durr2012",
        'S. D{\\"u}rr',
        "Physics of eta' with rooted staggered quarks",
        "2012",
        "arXiv:1203.2560",
        "Phys. Rev. D 85, 114503",
    ),
    (
        "christen2005",
        "J. A. Christen and C. Fox",
        "Markov Chain Monte Carlo Using an Approximation",
        "2005",
        "doi:10.1198/106186005X76983",
        "J. Comput. Graph. Stat. 14, 795",
    ),
    (
        "delmoral2006",
        "P. Del Moral and A. Doucet and A. Jasra",
        "Sequential Monte Carlo Samplers",
        "2006",
        "arXiv:cond-mat/0212648",
        "J. R. Stat. Soc. B 68, 411",
    ),
    (
        "matthews2022",
        "A. G. D. G. Matthews and M. Arbel and D. J. Rezende and A. Doucet",
        "Continual Repeated Annealed Flow Transport Monte Carlo",
        "2022",
        "arXiv:2201.13117",
    ),
    (
        "whiteley2016",
        "N. Whiteley and A. Lee and K. Heine",
        "On the role of interaction in sequential Monte Carlo algorithms",
        "2016",
        "arXiv:1309.2918",
        "Bernoulli 22, 494",
    ),
    (
        "swendsen1986",
        "R. H. Swendsen and J.-S. Wang",
        "Replica Monte Carlo Simulation of Spin-Glasses",
        "1986",
        "doi:10.1103/PhysRevLett.57.2607",
        "Phys. Rev. Lett. 57, 2607",
    ),
    (
        "hukushima1996",
        "K. Hukushima and K. Nemoto",
        "Exchange Monte Carlo Method and Application to Spin Glass Simulations",
        "1996",
        "arXiv:cond-mat/9512035",
        "J. Phys. Soc. Jpn. 65, 1604",
    ),
    (
        "katzgraber2006",
        "H. G. Katzgraber and S. Trebst and D. A. Huse and M. Troyer",
        "Feedback-optimized parallel tempering Monte Carlo",
        "2006",
        "arXiv:cond-mat/0602085",
        "J. Stat. Mech. 2006, P03018",
    ),
    (
        "abbott2024",
        "R. Abbott and M. S. Albergo and D. Boyda and D. C. Hackett and G. Kanwar and "
        "F. Romero-L{\\'o}pez and P. E. Shanahan and J. M. Urban",
        "Practical applications of machine-learned flows on gauge fields",
        "2024",
        "arXiv:2404.11674",
    ),
    (
        "jarzynski1997",
        "C. Jarzynski",
        "Nonequilibrium Equality for Free Energy Differences",
        "1997",
        "arXiv:cond-mat/9610209",
        "Phys. Rev. Lett. 78, 2690",
    ),
    (
        "wu2020",
        "H. Wu and J. K{\\\"o}hler and F. No{\\'e}",
        "Stochastic Normalizing Flows",
        "2020",
        "arXiv:2002.06707",
    ),
    (
        "caselle2022",
        "M. Caselle and E. Cellini and A. Nada and M. Panero",
        "Stochastic normalizing flows as non-equilibrium transformations",
        "2022",
        "arXiv:2201.08862",
        "JHEP 07, 015",
    ),
    (
        "bennett1976",
        "C. H. Bennett",
        "Efficient estimation of free energy differences from Monte Carlo data",
        "1976",
        "doi:10.1016/0021-9991(76)90078-4",
        "J. Comput. Phys. 22, 245",
    ),
    (
        "crooks1999",
        "G. E. Crooks",
        "Entropy production fluctuation theorem and the nonequilibrium work relation "
        "for free energy differences",
        "1999",
        "arXiv:cond-mat/9901352",
        "Phys. Rev. E 60, 2721",
    ),
    (
        "efron1979",
        "B. Efron",
        "Bootstrap Methods: Another Look at the Jackknife",
        "1979",
        "doi:10.1214/aos/1176344552",
        "Ann. Statist. 7, 1",
    ),
    (
        "kosterlitz1973",
        "J. M. Kosterlitz and D. J. Thouless",
        "Ordering, metastability and phase transitions in two-dimensional systems",
        "1973",
        "doi:10.1088/0022-3719/6/7/010",
        "J. Phys. C 6, 1181",
    ),
    (
        "kramers1941",
        "H. A. Kramers and G. H. Wannier",
        "Statistics of the Two-Dimensional Ferromagnet. Part I",
        "1941",
        "doi:10.1103/PhysRev.60.252",
        "Phys. Rev. 60, 252",
    ),
)

REFERENCES: Mapping[str, str] = MappingProxyType({entry[4]: _article(*entry) for entry in _ENTRIES})
"""BibTeX by source: "arXiv:number" or "doi:number"."""
