! SPDX-License-Identifier: Apache-2.0
!> Physical constants and the working precision.
!!
!! One place for every number that is physics and not a choice of this model; a process keeps
!! the numbers that are its own next to its equations.
module constants
   use, intrinsic :: iso_fortran_env, only: real64
   implicit none
   private

   integer, parameter, public :: wp = real64
      !! Working precision of the whole model.

   real(wp), parameter, public :: pi = acos(-1.0_wp)
   real(wp), parameter, public :: radians = pi/180.0_wp
      !! One degree in radians.
   real(wp), parameter, public :: earth_radius = 6.371e6_wp
      !! Radius of the sphere [m].
   real(wp), parameter, public :: gravity = 9.80665_wp
      !! Standard acceleration of gravity [m s-2].
   real(wp), parameter, public :: stefan_boltzmann = 5.670374419e-8_wp
      !! Stefan-Boltzmann constant [W m-2 K-4].
   real(wp), parameter, public :: solar_constant = 1361.0_wp
      !! Total solar irradiance at one astronomical unit [W m-2] (Kopp and Lean 2011).
   real(wp), parameter, public :: von_karman = 0.4_wp
   real(wp), parameter, public :: gas_constant_dry_air = 287.05_wp
      !! [J kg-1 K-1]
   real(wp), parameter, public :: heat_capacity_air = 1004.6_wp
      !! Specific heat of dry air at constant pressure [J kg-1 K-1].
   real(wp), parameter, public :: molar_mass_ratio = 0.622_wp
      !! Molar mass of water over that of dry air.
   real(wp), parameter, public :: freezing_point = 273.15_wp
      !! [K]
   real(wp), parameter, public :: latent_heat_vaporisation = 2.501e6_wp
      !! At the freezing point [J kg-1].
   real(wp), parameter, public :: latent_heat_fusion = 3.337e5_wp
      !! [J kg-1]
   real(wp), parameter, public :: latent_heat_sublimation = latent_heat_vaporisation + latent_heat_fusion
      !! [J kg-1]

   integer, parameter, public :: steps_per_day = 24
   real(wp), parameter, public :: seconds_per_day = 86400.0_wp
   real(wp), parameter, public :: timestep = seconds_per_day/steps_per_day
      !! Length of one step of the model [s].
   integer, parameter, public :: days_per_year = 360
      !! The driving simulation has twelve months of thirty days.
end module constants
